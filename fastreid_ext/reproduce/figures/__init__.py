"""The figures of the papers: curves of what a sweep gave, and pictures of what trained models see."""
