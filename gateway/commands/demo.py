"""``doorway demo``."""

from gateway.commands.unbuilt import unbuilt

demo = unbuilt("demo", "The story, told live.")
