"""Class spaces: collect them from the images of a class, read and write them, and sum them up to bases."""
