"""What the use cases need from outside, one file an area; adapters/db and adapters/memory both keep these contracts."""
