"""``doorway trace`` and ``doorway replay``."""

from gateway.commands.unbuilt import unbuilt

trace = unbuilt("trace", "One message or row through all stages.")
replay = unbuilt("replay", "Process a message again, safely.")
