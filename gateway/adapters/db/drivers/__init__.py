"""What is imported only where its driver is in use: the tables are found by importing everything beside this folder."""
