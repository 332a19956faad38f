"""Personal reward models: the model, its users' weights, the convex solve that fits one or many of them, its files."""
