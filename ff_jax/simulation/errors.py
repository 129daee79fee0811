"""Why a request cannot be answered: one sentence, and the name of its gRPC status code."""


class RequestError(ValueError):
    """A request that the server refuses.

    Attributes:
        code: name of a gRPC status code, such as "NOT_FOUND".
    """

    def __init__(self, sentence: str, code: str = "INVALID_ARGUMENT"):
        """Keep the sentence for the client, and the code."""
        super().__init__(sentence)
        self.code = code
