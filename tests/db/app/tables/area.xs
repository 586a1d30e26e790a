table "area" {
  schema {
    int id
    text name
    geo_polygon shape?
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "spatial", field: [{name: "shape"}]}
  ]
}
