"""Why a request cannot be answered: one sentence, and the name of its gRPC status code."""

MAX_SENTENCE = 600  # characters: a status travels in a header, and clients choose names that it quotes


class RequestError(ValueError):
    """A request that the server refuses.

    Attributes:
        code: name of a gRPC status code, such as "NOT_FOUND".
    """

    def __init__(self, sentence: str, code: str = "INVALID_ARGUMENT"):
        """Keep the sentence for the client, and the code."""
        super().__init__(sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[:MAX_SENTENCE]} ...")
        self.code = code
