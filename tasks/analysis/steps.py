"""The @task functions of this capability: thin, and the only module here that imports Prefect."""
