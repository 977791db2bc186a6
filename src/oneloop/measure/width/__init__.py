"""How many rollouts a prompt needs, in closed form and simulated (BroRL)."""
