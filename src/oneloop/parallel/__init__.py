"""Work on more than one device: where tensors live (`placement`), stages as actors (`runtime`)."""
