"""Writers of small valid files of formats that the project only reads."""
