"""Layer handlers: the linear maps of each kind of layer, and the rows that flow into them."""
