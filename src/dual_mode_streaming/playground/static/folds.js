// What the server's folds do, done by the page with the items of a stream: so it can compare them with the batch.

export const collect = (items) => ({ data: items });

export const last = (items) => items.at(-1) ?? null;

export const ranked = (hits) => ({
  count: hits.length,
  hits: [...hits].sort((a, b) => b.score - a.score || (a.topic < b.topic ? -1 : 1)),
});

export function summed(topics) {
  const longest = topics
    .map((topic) => topic.longest)
    .sort((a, b) => b.length - a.length || (a < b ? -1 : 1))[0];
  return { topics: topics.length, words: topics.reduce((sum, topic) => sum + topic.words, 0), longest: longest ?? "" };
}

export function said(parts) {
  const choices = parts.flatMap((part) => part.choices ?? []);
  return {
    content: choices.map((choice) => choice.delta?.content ?? "").join(""),
    finish_reason: choices.findLast((choice) => choice.finish_reason)?.finish_reason ?? null,
  };
}

// Equal as JSON values: the order of keys does not count.
export function equal(a, b) {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && equal(a[key], b[key]));
}

// Whether `part` stands in `whole` in one piece and in this order.
export function contains(whole, part) {
  if (part.length === 0) return true;
  const at = whole.findIndex((item) => equal(item, part[0]));
  return at >= 0 && part.every((item, index) => equal(item, whole[at + index]));
}
