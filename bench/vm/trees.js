const n = Number(process.argv[2]);
function make(depth) {
  if (depth === 0) return { left: null, right: null, size: 1 };
  const left = make(depth - 1);
  const right = make(depth - 1);
  return { left, right, size: left.size + right.size };
}
function weigh(tree) {
  if (tree.left === null) return 1;
  const a = weigh(tree.left);
  const b = weigh(tree.right);
  return a + b + tree.size % 3;
}
function main() {
  const tree = make(n);
  let total = 0;
  for (let round = 0; round < 4; round++) total += weigh(tree);
  return total;
}
console.log(JSON.stringify(main()));
