"""What leaves a run: pictures, pages, videos, PLY files."""
