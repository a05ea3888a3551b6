"""A model's history as one HTML file that needs nothing else: no script, no network, no torch.

``view`` gathers it from the ledger, ``measured`` reads evidence and recipes, the chart modules draw,
``panels`` puts one version together, and ``page`` writes the file.
"""
