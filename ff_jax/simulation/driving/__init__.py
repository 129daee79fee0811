"""Drive a vehicle through a scene: its motion, the route, the traffic, scores, and two simple agents. No renderer."""
