# expect: TODO 3: the batch would say 200 and look like success
"""An error that is yielded is an item like any other."""


async def prices(lines):
    number = 0
    async for line in lines:
        number += 1
        name, _, price = line.partition(";")
        if not name or not price.isdecimal():
            yield {"error": f"Line {number} is no name and price."}
            return
        yield name, int(price)
