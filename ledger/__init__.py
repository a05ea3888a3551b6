"""unledger: an unlearning ledger for trained image classifiers.

Importing this package does not import torch.
"""

__version__ = "0.1.0"
