query "async" verb=POST {
  api_group = "plain"

  input {
    int[] numbers
    decimal timeout?=5
  }

  stack {
    var $ids {
      value = []
    }

    foreach ($input.numbers) {
      each as $n {
        function.run "twice" {
          input = {n: $n}
          runtime_mode = "async-shared"
        } as $id

        array.push $ids {
          value = $id
        }
      }
    }

    function.run "twice" {
      input = {n: 1}
      async = true
    } as $last

    await {
      ids = $ids
      timeout = $input.timeout
    } as $results

    await $last as $one
  }

  response = {all: $results|values, one: $one}
}
