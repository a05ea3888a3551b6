"""Signed certificates of unlearning: write them and verify them offline, without SQL or torch."""
