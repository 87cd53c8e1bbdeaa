"""The pages: each gives one View, which feeds HTML, JSON and the terminal."""
