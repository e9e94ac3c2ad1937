# expect: TODO 3: Its text is not for clients
"""Every exception is told to the client, with its text."""


async def prices(lines):
    number = 0
    try:
        async for line in lines:
            number += 1
            name, price = line.split(";")
            if not name:
                raise ValueError("no name")
            yield name, int(price)
    except ValueError as error:
        raise HTTPException(422, f"Line {number + (number == 0)}: {error}") from error
