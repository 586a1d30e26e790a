branch "v1" {
  middleware = {query: {pre: [], post: [{name: "branch_mark"}]}}
}
