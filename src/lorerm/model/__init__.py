"""Personal reward models: the model, the prior and posterior of its users' weights, saving and publishing it."""
