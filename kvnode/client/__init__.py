"""The Python client of a kvnode cluster; its public names are exported by ``kvnode`` itself."""
