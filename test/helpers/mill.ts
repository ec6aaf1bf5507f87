/** What test/fixtures/mill.dict was trained on: the first 600 of these. */

export function millRecord(i: number): string {
  return JSON.stringify({
    level: i % 97,
    mill: `mill ${i % 13}`,
    wheel: ['north', 'south', 'east'][i % 3],
    turns: (i * 7919) % 10_007,
    note: `the water is ${['high', 'low', 'still', 'rising'][i % 4]}`,
  });
}
