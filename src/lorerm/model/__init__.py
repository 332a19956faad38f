"""Personal reward models: rewards and rankings, the prior and posterior of user weights, saving, publishing."""
