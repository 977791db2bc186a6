"""Work on more than one device: where tensors live (`placement`), a learner on many ranks (`ranks`), stages
as actors (`runtime`)."""
