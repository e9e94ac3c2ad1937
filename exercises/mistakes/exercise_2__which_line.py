# expect: TODO 3: The client has to find the line
"""The error does not say where it is."""


async def prices(lines):
    async for line in lines:
        name, _, price = line.partition(";")
        if not name or not price.isdecimal():
            raise HTTPException(422, "This is no name and price.")
        yield name, int(price)
