"""Parquet folders: schema, coding, writer, reader, meshes."""
