"""The report on a model: one self-contained HTML file. Making it needs no torch, reading it no scripts or network.

``data`` reads the ledger, ``charts`` draws, ``sections`` writes about one version at a time, and ``page`` puts the file
together.
"""
