// A picture of the product, as a part of a multipart body.
query "products/{product_id}/photo" verb=POST {
  api_group = "catalog"
  auth = "user"
  middleware = {pre: [{name: "admin_only"}]}

  input {
    int product_id
    file photo
  }

  stack {
    storage.create_image {
      value = $input.photo
      access = "public"
      filename = ""
    } as $photo

    db.patch "product" {
      field_name = "id"
      field_value = $input.product_id
      data = {photo: $photo}
    } as $product
  }

  response = $product.photo
}
