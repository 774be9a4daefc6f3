"""The pictures of the report, a module for each suite: results in, SVG with a description and its numbers out."""
