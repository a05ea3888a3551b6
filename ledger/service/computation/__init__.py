"""From a model and a set of classes to new weights. The only room of the service that needs torch."""
