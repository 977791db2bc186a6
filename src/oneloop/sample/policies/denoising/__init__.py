"""Parts of a flow policy: the walk from noise to images, the SDE of a step, rendering, the reference."""
