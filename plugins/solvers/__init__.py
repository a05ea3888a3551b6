"""Solvers: the edit of one linear map from its retain and forget spaces."""
