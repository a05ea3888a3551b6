"""From images of a class to its stored space, and from class spaces to bases."""
