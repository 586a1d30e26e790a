// A job.
run.job "sum it" {
  main = {
    name : "sum"
    input: {list: [1, 2, 3], who: $env.WHO}
  }
  pre = {name: "prepare"}
  post = {name: "finish"}
  env = ["WHO"]
}
