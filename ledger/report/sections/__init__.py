"""Parts of the page: one version with its evidence and computation, and the verdict on the live version."""
