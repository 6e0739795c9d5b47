"""Media files as streams: pictures with their times in, pictures and all other tracks out."""
