"""Work on more than one device: where tensors live (`placement`), learners on many ranks, stages as actors (`runtime`)."""
