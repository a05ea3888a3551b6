"""Routes of the API: each translates one question into one of the desk's, and its answer into HTTP."""
