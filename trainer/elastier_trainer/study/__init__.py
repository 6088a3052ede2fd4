"""Studies: a grid of recipes, optimizers and seeds, trained, compared in pairs and reported."""
