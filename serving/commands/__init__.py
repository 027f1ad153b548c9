"""The commands of fooocus-stages: each module adds one to the parser and implements it."""
