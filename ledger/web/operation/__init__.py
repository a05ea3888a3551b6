"""What those ask who run a server: is it alive, is it ready, how is the queue."""
