"""What the page calls the networks that figures stand beside each other of."""

NETWORK_NAMES = {
    "original": "original",
    "masked_original": "masked original",
    "version": "this version",
    "retrained": "retrained without",
}
"""By the names that evaluators give them, in the order of columns."""
NETWORK_NOTES = {
    "original": "the registered weights",
    "masked_original": "the registered weights, which may not answer the forgotten classes: the trivial way to forget",
    "version": "the weights that this section is about",
    "retrained": "weights that somebody declared to be trained without the forgotten classes",
}
