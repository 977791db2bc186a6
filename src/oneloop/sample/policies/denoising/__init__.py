"""What a flow policy is made of: the walk from noise to images, the SDE of a step, rendering, references."""
