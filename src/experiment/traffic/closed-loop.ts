/**
 * Load of a closed loop: `inFlight` requests on their way, the next one when one is answered, until `ask` has nothing
 * more to ask for. @throws what a request fails with.
 */
export async function closedLoop(inFlight: number, ask: () => Promise<unknown> | undefined): Promise<void> {
  const askInTurn = async () => {
    for (let asked = ask(); asked !== undefined; asked = ask()) await asked;
  };
  await Promise.all(Array.from({ length: inFlight }, askInTurn));
}
