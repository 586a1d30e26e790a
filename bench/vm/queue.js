const n = Number(process.argv[2]);
function main() {
  const stack = [];
  let sum = 0;
  for (let i = 0; i < n; i++) {
    stack.push(i);
    if (i % 3 === 2) sum += stack.pop();
  }
  const queue = [0];
  let first = 0, made = 1, seen = 0;
  while (first < queue.length) {
    const head = queue[first++];
    seen += head % 7;
    if (made < n) {
      queue.push(made);
      queue.push(made + 1);
      made += 2;
    }
  }
  const line = stack.slice();
  let order = 0;
  for (let at = 0; at < line.length; at++) order = (order * 3 + line[at]) % 1000003;
  return { sum, made, seen, order, left: stack.length };
}
console.log(JSON.stringify(main()));
