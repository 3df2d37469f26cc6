"""What is exchanged with people and their tools: files that can be looked at and dragged into a tool, and what a tool exports."""
